/** Pictures that form, in React: a hook, and a component that uses it. */

import { useCallback, useEffect, useRef, useState } from "react";
import { Client, type GenerateRequest, Painter, type PictureEvent } from "rowcast";

/** Draw on `server` whenever `request` is another object; a canvas takes `paintOn(index)` as its ref. */
export function useRowcast(server: string, request: GenerateRequest | null) {
  const [events, setEvents] = useState<Record<number, PictureEvent>>({}); // the newest of each
  const [error, setError] = useState<Error | null>(null);
  const canvases = useRef<Record<number, HTMLCanvasElement | null>>({});

  useEffect(() => {
    setEvents({});
    setError(null);
    if (request === null) return;
    const ending = new AbortController();
    const { signal } = ending;
    draw(request).catch((error) => signal.aborted || setError(error));
    return () => ending.abort(); // cancels what is still forming

    async function draw(asked: GenerateRequest) {
      const client = await Client.connect(server, { signal, waitWhenBusySeconds: 60 });
      const painter = new Painter(client);
      signal.addEventListener("abort", () => painter.close());
      const shown: Record<number, ReturnType<Painter["show"]>> = {};
      for await (const event of client.generate({ ...asked, signal })) {
        const { index, picture } = event;
        const canvas = canvases.current[index];
        if (event.type === "accepted" && canvas) shown[index] = painter.show(picture, canvas);
        shown[index]?.update();
        setEvents((before) => ({ ...before, [index]: event }));
      }
    }
  }, [server, request]);

  const paintOn = useCallback(
    (index: number) => (canvas: HTMLCanvasElement | null) => {
      canvases.current[index] = canvas;
    },
    [],
  );
  return { events, error, paintOn };
}

export function Pictures({ server, request }: { server: string; request: GenerateRequest }) {
  const { events, error, paintOn } = useRowcast(server, request);
  const indices = Array.from({ length: request.images ?? 1 }, (_, index) => index);
  return (
    <div>
      {error && <p role="alert">{error.message}</p>}
      {indices.map((index) => (
        <figure key={index}>
          <canvas ref={paintOn(index)} />
          <figcaption>
            {events[index]
              ? `${events[index].picture.rowsHeld} of ${events[index].picture.rows} rows`
              : "waiting"}
          </figcaption>
        </figure>
      ))}
    </div>
  );
}
