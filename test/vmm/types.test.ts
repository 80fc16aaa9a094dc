import { describe, expectTypeOf, test } from 'vitest'
import type {
  Gate,
  HostRefusal,
  Kvm,
  KvmError,
  KvmFpu,
  KvmXcr,
  MsrError,
  Process,
  Refusal,
  SyscallError,
  VcpuExit,
  VcpuFd,
  VmFd,
  XsaveImage,
} from '../../src/index.ts'

/** What VMM authors write against; `npm run types` fails when one of these changes. */

describe('types of the library', () => {
  test('errors carry errno, call, rule and the reason as data', () => {
    expectTypeOf<KvmError>().toExtend<SyscallError>()
    expectTypeOf<SyscallError['errno']>().toEqualTypeOf<string>()
    expectTypeOf<SyscallError['reason']>().toEqualTypeOf<Refusal | null>()
    expectTypeOf<SyscallError['explanation']>().toEqualTypeOf<string | null>()
    expectTypeOf<MsrError['reason']>().toEqualTypeOf<Refusal | null>()
    expectTypeOf<HostRefusal['reason']>().toEqualTypeOf<Refusal>()
  })
  test('a reason is data of fixed shape', () => {
    expectTypeOf<keyof Refusal>().toEqualTypeOf<
      'outcome' | 'errno' | 'rule' | 'asked' | 'bits' | 'sides' | 'chain' | 'sentence'
    >()
    expectTypeOf<Gate['verdict']>().toEqualTypeOf<'passed' | 'trapped' | 'refused'>()
    expectTypeOf<Gate['value']>().toEqualTypeOf<bigint>()
    expectTypeOf<NonNullable<Refusal['bits']>['mask']>().toEqualTypeOf<bigint>()
  })
  test('objects lead from a process to a vCPU', () => {
    expectTypeOf<Process['openKvm']>().returns.toEqualTypeOf<Kvm>()
    expectTypeOf<Kvm['createVm']>().returns.toEqualTypeOf<VmFd>()
    expectTypeOf<VmFd['createVcpu']>().returns.toEqualTypeOf<VcpuFd>()
    expectTypeOf<VcpuFd['run']>().returns.toEqualTypeOf<VcpuExit>()
  })
  test('registers and masks are bigint, sizes and numbers of things are not', () => {
    expectTypeOf<VcpuFd['getXcr0']>().returns.toEqualTypeOf<bigint | null>()
    expectTypeOf<VcpuFd['setXcrs']>().parameter(0).toEqualTypeOf<readonly KvmXcr[]>()
    expectTypeOf<VcpuFd['getXsave2']>().returns.toEqualTypeOf<XsaveImage>()
    expectTypeOf<XsaveImage['xstateBv']>().toEqualTypeOf<bigint>()
    expectTypeOf<VcpuFd['xsaveSize']>().toEqualTypeOf<number>()
    expectTypeOf<KvmFpu['last_ip']>().toEqualTypeOf<bigint>()
    expectTypeOf<KvmFpu['mxcsr']>().toEqualTypeOf<number>()
  })
  test('exits are told apart by their reason', () => {
    const port = (exit: VcpuExit): number => (exit.reason === 'io' ? exit.port : -1)
    expectTypeOf(port).returns.toEqualTypeOf<number>()
  })
})
