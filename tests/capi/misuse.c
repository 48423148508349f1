#include <stdio.h>
int main(void) { printf("0 checks passed\n"); return 0; }
