"""What a CPU needs beside torch: compiled kernels, convolutions around torch's faults, weights in oneDNN's order."""
