/* With little address space the region is small and ready at once: core dumps have its blocks as well. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    char line[512], *block = malloc(1000);
    FILE *file = fopen("/proc/self/smaps", "r");
    int inside = 0;
    if (!block || !file) return 1;
    memset(block, 1, 1000);
    while (fgets(line, sizeof line, file)) {
        unsigned long start, end;
        char rights[5];
        if (sscanf(line, "%lx-%lx %4s", &start, &end, rights) == 3) {
            inside = (unsigned long)block >= start && (unsigned long)block < end;
        } else if (inside && !strncmp(line, "VmFlags:", 8)) {
            puts(strstr(line, " dd") ? "left out" : "ok");
            return 0;
        }
    }
    return 1;
}
