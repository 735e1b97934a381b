"""What tests share: harness, miniatures, contract suites."""
