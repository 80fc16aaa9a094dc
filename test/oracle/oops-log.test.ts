import { describe, expect, test } from 'vitest'
import { oopsScenarios, recordedOopses } from '../../scripts/oracle/oops-log.ts'
import { fixture } from '../../scripts/oracle/recordings.ts'

const recorded = recordedOopses(fixture('oops-linux-6.12-bochs-spr.txt'))

describe('the recorded oopses', () => {
  test.each([...recorded.values()])(
    '$name: XRSTORS of tile data that IA32_XFD disables, on the way into KVM_RUN [GFPU-53]',
    ({ calls, end }) => {
      expect(end).toEqual({ killed_by: 11 })
      expect(calls).toEqual([
        {
          call: 'oops',
          warning: 'exc_device_not_available',
          oops: 'unexpected #NM exception: 0000 [#1]',
          comm: 'oracle',
          in: 'restore_fpregs_from_fpstate',
          eax: '00000000000608e7',
          edx: '0000000000000000',
          pkru: '55555554',
          trace: expect.arrayContaining(['fpu_swap_kvm_fpstate', 'kvm_arch_vcpu_ioctl_run', 'do_syscall_64']),
          user: { origRax: '0000000000000010', rdi: '0000000000000005', rsi: '000000000000ae80', rdx: '0000000000000000' },
        },
      ])
    },
  )

  test('are two', () => expect([...recorded.keys()]).toEqual(['danger.order.CRXFGKG', 'danger.order.CRXKFGKG']))
})

test('a host that did not oops is told from one that did', () => {
  const quiet = oopsScenarios({ stdout: '{"scenario":"danger.order.X","calls":[]}\n', stderr: '', trouble: null })
  expect([...quiet.values()]).toEqual([{ name: 'danger.order.X', calls: [{ call: 'oops' }], end: {} }])
})
