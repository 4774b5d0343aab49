"""Show and Tell: a convolutional encoder, and an LSTM that attends to it and says a caption."""
