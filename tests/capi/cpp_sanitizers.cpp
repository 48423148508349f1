// Whether a compiler has sanitizers.
int main() {}
