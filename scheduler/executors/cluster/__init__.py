"""What executors of clusters share: slots on the dispatcher's side, a guard on the node's."""
