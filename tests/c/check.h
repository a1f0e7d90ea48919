// Shared by the test programs.
#ifndef CHECK_H
#define CHECK_H

#include <ipcq.h>
#include <stdio.h>
#include <stdlib.h>

// Ends the program with the text of the last error if the condition is false.
#define CHECK(what)                                                                                \
  do {                                                                                             \
    if (!(what)) {                                                                                 \
      fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #what, ipcq_errmsg());               \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

#endif
