"""What makes a GPU fast: own Triton kernels of neurons, encoders and decoders; Triton is imported when they run."""
