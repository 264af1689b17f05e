/* Functions of all the shapes that compilers give a frame. Each calls `leaf(data)` from within, and
   returns what it returned plus something, so that the call is not the last thing it does. */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

typedef int (*Leaf)(void* data);

int shape_plain(Leaf leaf, void* data);
int shape_deep(Leaf leaf, void* data);             /* 40 frames */
int shape_busy_registers(Leaf leaf, void* data);   /* all registers that must be kept are in use */
int shape_variable_array(Leaf leaf, void* data);   /* the stack pointer moves while it runs */
int shape_aligned(Leaf leaf, void* data);          /* the stack pointer is aligned to 64 */
int shape_aligned_variable(Leaf leaf, void* data); /* both */
int shape_large(Leaf leaf, void* data);            /* a frame of 300 KB */
int shape_many_arguments(Leaf leaf, void* data);   /* arguments on the stack */
int shape_variadic(Leaf leaf, void* data);
int shape_tail_call(Leaf leaf, void* data);        /* ends in a jump: no frame of its own */
int shape_from_libc(Leaf leaf, void* data);        /* called back by qsort */
int shape_early_return(Leaf leaf, void* data);     /* the call lies behind a return */
int shape_without_description(Leaf leaf, void* data); /* written by hand: the stack ends there */
int shape_virtual(Leaf leaf, void* data);
int shape_inlined(Leaf leaf, void* data);
int shape_function_object(Leaf leaf, void* data);
int shape_while_unwinding(Leaf leaf, void* data);  /* in a destructor, while an exception passes */
int shape_in_handler(Leaf leaf, void* data);       /* in a catch block */

#ifdef __cplusplus
}
#endif
