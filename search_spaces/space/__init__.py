"""Search spaces: functions that make named choices."""
