"""Other people's weights and formats."""
