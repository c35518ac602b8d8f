"""The forms that data comes in, each read into the same labels and pictures."""
