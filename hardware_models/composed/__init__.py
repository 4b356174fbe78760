"""Models made of models: several devices, a model corrected by measurements."""
