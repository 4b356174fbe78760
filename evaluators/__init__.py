"""How good a network is: trained quality, zero-cost scores, predicted and measured cost."""
