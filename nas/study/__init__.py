"""The durable record of a search: an Optuna study."""
