"""From a build to a running board: block design, driver, samples, a mock board, and what was measured."""
