"""Every figure and table of the study, drawn from result files alone: nothing here trains, scores or measures."""
