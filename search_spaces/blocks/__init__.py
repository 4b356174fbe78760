"""Blocks and heads: functions from builder and tensor to tensor."""
