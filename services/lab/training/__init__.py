"""Makes model artifacts: features, labels, training, honest measuring, one ONNX file."""
