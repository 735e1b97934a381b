"""What makes the models: networks, data sets, recipes, the trainer and the export."""
