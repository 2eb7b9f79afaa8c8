"""Every bound and every file of one model on one plot."""
