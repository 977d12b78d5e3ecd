//! Networks: the bridge driver, address leases, published ports, prepared namespaces.
