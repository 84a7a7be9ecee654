"""What inspection is made of: spectra of the learned updates, counts against backbone scale, their figures."""
