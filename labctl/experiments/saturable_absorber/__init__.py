"""Tables of Guo, Barrett, Wang and Lvovsky, Photonics Research 9(3):B71, 2021: one file per table."""
