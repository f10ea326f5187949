"""The one place with physics: twins run it with true parameters, trainers with calibrated ones."""
