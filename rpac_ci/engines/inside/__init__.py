"""Programs of engines that run in the experiment's environment; they import nothing of rpac_ci."""
