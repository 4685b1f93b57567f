package relay

// This file is what the session asks of the store beyond adding and answering.

// list gives the records that match f and that want accepts, newest first, at most f.limit. Want
// runs with the index locked.
func (s *store) list(f *filter, want func(*record) bool) []*record {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.index.find(f, want)
}

// names reports whether rec has a p tag of k. The caller holds the index.
func (s *store) names(rec *record, k key) bool {
	return s.index.byTag[newTagKey('p', k.String())].has(rec)
}
