/* The C interface of the runtime, for other languages. Every function that can fail returns a status, and
 * sacvit_last_error() has the message; no exception gets out. Handles are safe to use from several threads. Pointers
 * got from a handle are valid as long as the handle. NULL in place of a handle gives an error, or, from functions
 * without a status, NULL or 0. */
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
    SACVIT_ERROR_BACKEND = 3, /* an inference library that is missing or failed */
    SACVIT_ERROR_OUTPUT = 4,  /* an engine gave NaN or infinite values */
    SACVIT_ERROR_USAGE = 5,   /* an argument out of range */
    SACVIT_ERROR_INTERNAL = 6 /* no memory, or a bug of this library */
} sacvit_status;

/* 8 bits for each channel, interleaved; an image with alpha is laid over white. Of luma and chroma: NV12 (a plane of Y,
 * one of U and V in turn), I420 (planes of Y, U, V), YUYV (Y U Y V, one plane). */
typedef enum sacvit_format {
    SACVIT_RGB = 0,
    SACVIT_BGR = 1,
    SACVIT_GRAY = 2,
    SACVIT_RGBA = 3,
    SACVIT_BGRA = 4,
    SACVIT_NV12 = 5,
    SACVIT_I420 = 6,
    SACVIT_YUYV = 7
} sacvit_format;

/* The matrix of YUV pixels; FULL where they are all 0 to 255, else Y is 16 to 235, U and V 16 to 240. */
typedef enum sacvit_colors {
    SACVIT_BT601 = 0,
    SACVIT_BT601_FULL = 1,
    SACVIT_BT709 = 2,
    SACVIT_BT709_FULL = 3
} sacvit_colors;

typedef struct sacvit_model sacvit_model;
typedef struct sacvit_prediction sacvit_prediction;

/* How a bundle is opened. Set members that you don't need to zero. */
typedef struct sacvit_options {
    const char* precision; /* "fp32", "fp16", "int8"; NULL: the best for this processor */
    const char* device;    /* "cpu", "cuda:N", "webgpu", or an ONNX Runtime execution provider; NULL: the CPU */
    const char* library;   /* libonnxruntime.so or its folder; NULL: search for it */
    int threads;           /* CPU threads of an engine call; 0: one for each core */
    int mapped;          /* not 0: read the weights as the file has them, which opens at once; 0: pack them for speed */
    const char* backend; /* "tensorrt" where it was built in; NULL: "onnxruntime" */
    int max_pixels;      /* of an image; 0: 110 million */
    int max_memory;      /* MB for all images being decoded; 0: 600 for one, 2400 or half of what is free for all */
    const char* ep_library; /* the file of a provider that is a plugin, such as webgpu; NULL: search for it */
} sacvit_options;

/* The source of an image: the file `path`; else, if `width` is not 0, pixels at `data`; else a JPEG or PNG file of
 * `size` bytes at `data`. Nothing is kept after the call. */
typedef struct sacvit_source {
    const char* path;
    const void* data;
    size_t size;
    int width, height; /* pixels */
    ptrdiff_t pitch;   /* bytes from one row to the next; negative where `data` is the last row in memory */
    int format;        /* a sacvit_format */
    /* Of YUV formats; zero where the planes lie behind each other. */
    int colors;             /* a sacvit_colors */
    const void *u, *v;      /* NV12's U and V, I420's U; I420's V. NULL: behind an even number of rows */
    ptrdiff_t chroma_pitch; /* of U and V; 0: NV12's is pitch, I420's half of it */
} sacvit_source;

/* Opens a bundle folder. options may be NULL. *out is NULL after a failure. The bundle's files are read now: what
 * happens to them later changes no answer. */
SACVIT_C_API sacvit_status sacvit_open(const char* bundle, const sacvit_options* options, sacvit_model** out);
/* Opens the bundle again at its place, with the same options, and answers by it from now on. Calls that have begun end
 * with the old one, which stays after a failure. */
SACVIT_C_API sacvit_status sacvit_reload(sacvit_model* model);
/* Releases a model; NULL is allowed. */
SACVIT_C_API void sacvit_close(sacvit_model* model);

/* Classifies one image. It exits after stage 1 above the probability eta, 0 to 1; alpha is the share of tokens that
 * stage 2 sees at full resolution, above 0 and below 1, or, if the model has a window, the share of the window's, up to
 * 1. Values below 0 are the bundle's defaults. *out is NULL after a failure. */
SACVIT_C_API sacvit_status sacvit_predict(const sacvit_model* model, const sacvit_source* source, double eta,
                                          double alpha, sacvit_prediction** out);
/* Classifies images in one EE call and at most one SAC call. statuses[i] and out[i], each [count], belong to
 * sources[i]. A bad image, or a source without a path and data, doesn't affect the others, and the result is OK unless
 * the whole batch failed. The last error is that of the last bad image. */
SACVIT_C_API sacvit_status sacvit_predict_batch(const sacvit_model* model, const sacvit_source* sources, size_t count,
                                                double eta, double alpha, sacvit_status* statuses,
                                                sacvit_prediction** out);
/* Releases a prediction; NULL is allowed. */
SACVIT_C_API void sacvit_prediction_free(sacvit_prediction* prediction);

/* 1: the EE engine's answer, after an exit; 2: the SAC engine's. */
SACVIT_C_API int sacvit_prediction_stage(const sacvit_prediction* prediction);
/* The most probable class, ties to the lower index, and its label. */
SACVIT_C_API int sacvit_prediction_index(const sacvit_prediction* prediction);
SACVIT_C_API const char* sacvit_prediction_label(const sacvit_prediction* prediction);
/* The highest probability of stage 1, compared with eta. */
SACVIT_C_API double sacvit_prediction_stage_one_probability(const sacvit_prediction* prediction);
/* [count] probabilities of the classes, by the stage that answered. count may be NULL. */
SACVIT_C_API const float* sacvit_prediction_probabilities(const sacvit_prediction* prediction, size_t* count);
/* [grid * grid] row-major, 1 where stage 2 saw full resolution; NULL after an exit. grid may be NULL. */
SACVIT_C_API const uint8_t* sacvit_prediction_target_mask(const sacvit_prediction* prediction, int* grid);
/* One line of JSON, as `sacvit-infer --json` prints it, with one class. */
SACVIT_C_API const char* sacvit_prediction_json(const sacvit_prediction* prediction);

SACVIT_C_API size_t sacvit_class_count(const sacvit_model* model);
SACVIT_C_API const char* sacvit_class_label(const sacvit_model* model, size_t index); /* NULL beyond the last */
/* The variant, library, version, device and threads. */
SACVIT_C_API const char* sacvit_description(const sacvit_model* model);

/* The message of this thread's last failed call; one sentence. */
SACVIT_C_API const char* sacvit_last_error(void);
SACVIT_C_API const char* sacvit_version(void);

#ifdef __cplusplus
}
#endif

#endif
