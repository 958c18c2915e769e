/* Runs a target over the files named on the command line, for compilers without libFuzzer. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv) {
    static uint8_t data[1 << 20];
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        if (!f) {
            perror(argv[i]);
            return 1;
        }
        size_t n = fread(data, 1, sizeof data, f);
        (void)fclose(f);
        /* A block of its own, so that a read past its end is seen. */
        uint8_t *copy = malloc(n ? n : 1);
        for (size_t k = 0; k < n; k++) copy[k] = data[k];
        (void)LLVMFuzzerTestOneInput(copy, n);
        free(copy);
    }
    printf("%d inputs\n", argc - 1);
    return 0;
}
