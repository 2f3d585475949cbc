"""The model server: numpy and onnxruntime only, hosted by BentoML."""

__all__: list[str] = []
