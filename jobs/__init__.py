"""Work that outlives a window: job folders, events, states and the supervisor of each job. Standard
library only."""
