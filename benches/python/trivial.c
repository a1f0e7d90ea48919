// The lower limit of a Python call: a method without arguments that returns 64 bytes, and one that
// takes bytes and reads them. The method is bound to an object, as the methods of a queue are.
#define Py_LIMITED_API 0x03090000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static const char message[64] = "a message of 64 bytes";
static volatile char seen;

static PyObject *get(PyObject *self, PyObject *unused) {
  (void)self, (void)unused;
  return PyBytes_FromStringAndSize(message, sizeof message);
}

static PyObject *put(PyObject *self, PyObject *bytes) {
  char *data;
  Py_ssize_t length;
  (void)self;
  if (PyBytes_AsStringAndSize(bytes, &data, &length))
    return NULL;
  seen = data[length - 1];
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"get", get, METH_NOARGS, NULL}, {"put", put, METH_O, NULL}, {0}};

static PyType_Slot slots[] = {{Py_tp_methods, methods}, {0, NULL}};
static PyType_Spec spec = {"trivial.Trivial", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT, slots};

static int fill(PyObject *module) {
  PyObject *type = PyType_FromSpec(&spec);
  return type ? PyModule_AddObject(module, "Trivial", type) : -1;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, (void *)fill}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "trivial", NULL, 0, NULL, module_slots,
                                        NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_trivial(void) { return PyModuleDef_Init(&definition); }
