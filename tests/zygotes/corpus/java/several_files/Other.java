class Other {
    String name() { return getClass().getName(); }
}
