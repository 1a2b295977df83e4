"""What every figure stands beside: the machine and its load, and the memory and processor time of processes."""
