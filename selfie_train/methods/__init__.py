"""The methods: from what the networks say about a batch, decide what they learn from it."""
