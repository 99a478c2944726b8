//! The node agent: finds crash evidence, keeps it, hands it over, forgets it.
