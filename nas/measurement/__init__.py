"""Networks and operations measured on real devices, into files for a calibration."""
