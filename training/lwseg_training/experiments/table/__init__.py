"""The table of networks: measured, laid out, drawn, and put into a README."""
