import { describe, expect, test } from 'vitest'
import { exec, Scratch, shell } from './command.ts'

const LINE = 'abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk\n'

describe('standard input and output', () => {
  test.concurrent('input reaches the program, and its end', async () => {
    expect(await exec([], 'stream', ['copy'], { input: 'one\ntwo\n' })).toMatchObject({
      status: 0,
      stdout: 'one\ntwo\n',
      stderr: '',
    })
    expect(await exec([], 'stream', ['copy'])).toMatchObject({ status: 0, stdout: '' })
  })
  test.concurrent('a megabyte through a pipe, unchanged', async () => {
    const ran = await exec([], 'stream', ['write', '1000000'])
    expect(ran).toMatchObject({ status: 0, stderr: '' })
    expect(ran.stdout === LINE.repeat(15_625)).toBe(true)
  })
  test.concurrent('three megabytes in and out', async () => {
    const input = LINE.repeat(50_000)
    const ran = await exec([], 'stream', ['copy'], { input })
    expect(ran).toMatchObject({ status: 0, stderr: '' })
    expect(ran.stdout === input).toBe(true)
  })
  test.concurrent('a call that claims two gigabytes writes what there is, and takes no memory for the rest', async () => {
    const ran = await exec([], 'stream', ['claim'], { node: ['--max-old-space-size=64'] })
    expect(ran).toMatchObject({ status: 0, stderr: '' })
    expect(ran.stdout).toHaveLength(4096)
  })
  test.concurrent('bytes are bytes', async () => {
    const scratch = new Scratch()
    const input = Uint8Array.from({ length: 256 }, (_, i) => i)
    const bytes = scratch.write('bytes', input)
    expect(await shell(`$WORLDSWITCH exec -- $PROGRAMS/stream copy < '${bytes}' | cmp - '${bytes}'`)).toMatchObject({ status: 0 })
    scratch.remove()
  })
})

describe('polling standard input', () => {
  test.concurrent('at its end: readable, hung up', async () => {
    expect(await exec([], 'stream', ['poll', '100000'])).toMatchObject({ status: 0, stdout: 'ready 1\nevents 17\n' })
  })
  test.concurrent('nothing comes: the call times out', async () => {
    const ran = await shell('sleep 3 | $WORLDSWITCH exec -- $PROGRAMS/stream poll 200')
    expect(ran).toMatchObject({ status: 0, stdout: 'ready 0\nevents 0\n', stderr: '' })
  })
  test.concurrent('something comes in time', async () => {
    const ran = await shell('(sleep 0.5; echo x; sleep 1) | $WORLDSWITCH exec -- $PROGRAMS/stream poll 100000')
    expect(ran).toMatchObject({ status: 0, stdout: 'ready 1\nevents 1\n', stderr: '' })
  })
})

describe('output that cannot be written', () => {
  test.concurrent('`| head -1` ends it as SIGPIPE ends others, and quietly', async () => {
    const ran = await shell('$WORLDSWITCH exec -- $PROGRAMS/stream write 1000000000 | head -1')
    expect(ran).toMatchObject({ status: 141, stdout: LINE, stderr: '' })
  })
  test.concurrent('messages to a closed stderr do not matter', async () => {
    const ran = await shell('$WORLDSWITCH exec -- $PROGRAMS/refused call 9999 2>&-')
    expect(ran).toMatchObject({ status: 0, stdout: `call -38\n` })
  })
  test.concurrent('a full device: the program gets ENOSPC', async () => {
    expect(await shell('$WORLDSWITCH exec -- $PROGRAMS/stream write 10000 > /dev/full')).toMatchObject({ status: 28, stderr: '' })
  })
  test.concurrent('a directory as input is an empty one', async () => {
    expect(await shell('$WORLDSWITCH exec -- $PROGRAMS/stream copy < /tmp')).toMatchObject({ status: 0, stdout: '', stderr: '' })
  })
})
