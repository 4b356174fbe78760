"""FPGAs and TPUs of Accel-NASBench."""
