//! What passes between node and service: manifests, parcels, offers, receipts.
