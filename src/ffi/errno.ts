// Data plane: why the last system call failed.
/**
 * The error number of the C library, by this thread.
 *
 * @module
 */
import { SystemError, type SystemErrorDetail } from "../errors.ts";
import { libc } from "./libc.ts";

// Threads have an errno each and modules are loaded by each thread, so the
// location is looked up once.
const location = new Int32Array(
  Deno.UnsafePointerView.getArrayBuffer(libc.errnoLocation()!, 4),
);

/**
 * The error number of the last call. Only right after a synchronous call that
 * failed; never after a nonblocking one, which ran on another thread.
 */
export function errno(): number {
  return location[0]!;
}

const NAMES: readonly string[] =
  ("0 EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN " +
    "ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR " +
    "EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK " +
    "EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP 41 " +
    "ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT " +
    "EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT 58 EBFONT ENOSTR ENODATA ETIME " +
    "ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP " +
    "EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD " +
    "ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK " +
    "EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT " +
    "ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE " +
    "EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET " +
    "ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED " +
    "EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM " +
    "ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY " +
    "EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL " +
    "EHWPOISON").split(" ");

/** The symbolic name of a positive error number, as `ENOENT`. */
export function errnoName(errno: number): string {
  const name = NAMES[errno];
  return name?.startsWith("E") ? name : `errno ${errno}`;
}

/** The error of `call` having failed with the positive `number`. */
export function systemError(
  call: string,
  number: number,
  detail: SystemErrorDetail = {},
): SystemError {
  const named = Object.assign({ code: errnoName(number) }, detail);
  return new SystemError(call, number, named);
}

/**
 * `result`, or throws the error of `call` where it is negative. To be used
 * right around the synchronous call.
 */
export function check(
  result: number,
  call: string,
  detail?: SystemErrorDetail,
): number {
  if (result < 0) throw systemError(call, errno(), detail);
  return result;
}
