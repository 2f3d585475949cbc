"""Networks, and what turns them into an ONNX file: training and optimization. Artefacts live in var/, not here."""
