"""What several runs tell together: cross-validation, scales, the table of networks."""
