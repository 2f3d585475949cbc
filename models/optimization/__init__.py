"""From a trained network to the file that is served: ONNX export with a parity gate, and its latency."""
