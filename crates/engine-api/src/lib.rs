//! The Docker Engine HTTP API and Corten's own routes; no logic.
