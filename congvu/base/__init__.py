"""The ground floor: clock, configuration, logging, failures, texts for people, Vietnamese. Standard library only."""
