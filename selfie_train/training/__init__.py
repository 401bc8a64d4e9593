"""Training: the loop, the networks, the processes, the checkpoints. Only this wing and models/ need torch."""
