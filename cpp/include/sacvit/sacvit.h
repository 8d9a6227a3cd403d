/* The C interface of the runtime, for other languages. No exception crosses it: every function that can fail returns a
 * status, and sacvit_last_error() has the message. Handles are safe to use from several threads. Pointers taken out of
 * a handle live as long as the handle does. */
#ifndef SACVIT_H
#define SACVIT_H

#include <stddef.h>
#include <stdint.h>

#if defined(SACVIT_STATIC)
#define SACVIT_C_API
#else
#define SACVIT_C_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sacvit_status {
    SACVIT_OK = 0,
    SACVIT_ERROR_IMAGE = 1,   /* an image that can't be decoded or is refused */
    SACVIT_ERROR_BUNDLE = 2,  /* a bundle that is missing, incomplete, changed, or of another schema */
    SACVIT_ERROR_BACKEND = 3, /* an inference library that is missing, or did not give what was asked for */
    SACVIT_ERROR_OUTPUT = 4,  /* an engine whose outputs can't be an answer */
    SACVIT_ERROR_USAGE = 5,   /* an argument out of its range */
    SACVIT_ERROR_INTERNAL = 6 /* no memory, or a fault of this library */
} sacvit_status;

typedef enum sacvit_format {
    SACVIT_RGB = 0,
    SACVIT_BGR = 1,
    SACVIT_GRAY = 2,
    SACVIT_RGBA = 3,
    SACVIT_BGRA = 4
} sacvit_format;

typedef struct sacvit_model sacvit_model;
typedef struct sacvit_prediction sacvit_prediction;

/* Set every member you don't need to zero. */
typedef struct sacvit_options {
    const char* precision; /* "fp32", "fp16", "int8"; NULL is the best for this processor */
    const char* provider;  /* an ONNX Runtime execution provider; NULL is the CPU */
    const char* library;   /* libonnxruntime.so or its folder; NULL looks for it */
    int threads;           /* CPU threads of one engine call; 0 is one for each core */
    int mapped;            /* not 0: read weights in place, which opens at once; 0: pack them for speed */
    const char* backend;   /* "tensorrt" where it was built in; NULL is "onnxruntime" */
} sacvit_options;

/* What an image comes from: `path`, or else pixels at `data` if `width` is not 0, or else the `size` bytes of a file at
 * `data`. Nothing is kept after the call. */
typedef struct sacvit_source {
    const char* path;
    const void* data;
    size_t size;
    int width, height;
    ptrdiff_t pitch; /* bytes from one row to the next */
    int format;      /* a sacvit_format */
} sacvit_source;

/* Opens a bundle folder. options may be NULL. *out is NULL after a failure. */
SACVIT_C_API sacvit_status sacvit_open(const char* bundle, const sacvit_options* options, sacvit_model** out);
SACVIT_C_API void sacvit_close(sacvit_model* model);

/* Classifies one image. eta and alpha below 0 take the bundle's defaults. *out is NULL after a failure. */
SACVIT_C_API sacvit_status sacvit_predict(const sacvit_model* model, const sacvit_source* source, double eta,
                                          double alpha, sacvit_prediction** out);
/* Classifies images in one EE call and at most one SAC call. statuses[i] and out[i] are those of sources[i]; a bad
 * image costs the others nothing, and the result is OK unless the whole batch failed. The last error is that of the
 * last bad one. */
SACVIT_C_API sacvit_status sacvit_predict_batch(const sacvit_model* model, const sacvit_source* sources, size_t count,
                                                double eta, double alpha, sacvit_status* statuses,
                                                sacvit_prediction** out);
SACVIT_C_API void sacvit_prediction_free(sacvit_prediction* prediction);

SACVIT_C_API int sacvit_prediction_stage(const sacvit_prediction* prediction);
SACVIT_C_API int sacvit_prediction_index(const sacvit_prediction* prediction);
SACVIT_C_API const char* sacvit_prediction_label(const sacvit_prediction* prediction);
SACVIT_C_API double sacvit_prediction_stage_one_probability(const sacvit_prediction* prediction);
/* [count] probabilities of the classes. */
SACVIT_C_API const float* sacvit_prediction_probabilities(const sacvit_prediction* prediction, size_t* count);
/* [grid * grid] row-major, 1 where stage 2 looked at full resolution; NULL after an exit. */
SACVIT_C_API const uint8_t* sacvit_prediction_target_mask(const sacvit_prediction* prediction, int* grid);
/* One line, as `sacvit-infer --json` prints it, with one class. */
SACVIT_C_API const char* sacvit_prediction_json(const sacvit_prediction* prediction);

SACVIT_C_API size_t sacvit_class_count(const sacvit_model* model);
SACVIT_C_API const char* sacvit_class_label(const sacvit_model* model, size_t index); /* NULL beyond the last */
SACVIT_C_API const char* sacvit_description(const sacvit_model* model);

/* What went wrong in this thread's last failed call; one sentence. */
SACVIT_C_API const char* sacvit_last_error(void);
SACVIT_C_API const char* sacvit_version(void);

#ifdef __cplusplus
}
#endif

#endif
